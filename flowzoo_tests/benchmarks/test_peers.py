import numpy as np
import pytest

from flowzoo.benchmarks import peer_families, peer_flows, peer_models, peers


def test_table_of_every_call(monkeypatch, capsys):
    monkeypatch.setattr(peer_flows, "HIDDEN", 8)
    monkeypatch.setattr(peers, "EPOCH_ROWS", 40)
    monkeypatch.setattr(peers, "EPOCH_BATCH", 20)
    monkeypatch.setattr(peers, "FLOWS", {"maf": {"flowzoo": peer_flows.FLOWS["maf"]["flowzoo"]}})
    peers.main(["maf"], [], list(peers.WHAT), 0.0, dim=3, batch=5, samples=4)
    table = capsys.readouterr().out.rstrip().split("\n\n")[-1].splitlines()
    assert [line.split(":")[1].split()[0] for line in table[1:]] == [
        "log_prob",
        "train_step",
        "4",
        "epoch",
    ]
    assert all(float(line.split()[-1]) > 0 for line in table[1:])


def test_ratios_are_those_to_the_reference():
    rows = {"a": {"flowzoo": 0.002, "x": 0.005}, "b": {"flowzoo": 1.0, "y": 0.5}}
    lines = peers.table(rows, ["x", "y"]).splitlines()
    assert lines[1].split() == ["a", "2.00", "2.50", "x"]
    assert lines[2].split() == ["b", "1000.00", "0.50", "x"]


def test_a_library_that_cannot_be_imported_is_left_out(caplog):
    def missing(dim):
        raise ImportError("no module named missing")

    builder = peer_flows.FLOWS["real_nvp"]["flowzoo"]
    models = peer_models.build_models({"missing": missing, "flowzoo": builder}, 2)
    assert list(models) == ["flowzoo"]


def test_what_a_library_does_not_offer_is_left_out(caplog):
    def missing():
        raise NotImplementedError("there is no inverse")

    assert (
        not peers.is_offered("x", missing) and "x is left out: there is no inverse" in caplog.text
    )
    assert peers.is_offered("x", lambda: None)


def test_a_density_that_depends_on_the_batch_is_refused():
    class Wrong:
        random = False

        def log_prob(self, x):
            return np.arange(len(x), dtype=float)

    with pytest.raises(ArithmeticError, match="log_prob"):
        peer_models.check_density(Wrong(), 2)


@pytest.mark.parametrize("name", sorted(peer_families.FLOWS))
def test_the_families_that_are_timed_are_densities(name):
    if name == "continuous":
        pytest.importorskip("diffrax")
    peer_models.check_density(peer_families.FLOWS[name]["flowzoo"](3), 3)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="--libraries names pyro, expected some of flowzoo"):
        peers.main(["maf"], ["pyro"], ["epoch"], 0.0, dim=2, batch=5, samples=4)
