"""Runs that start from the parameters of another run or model."""

import dataclasses

import jax
import numpy as np
import pytest

import flowzoo
from flowzoo.pretrained.start import starting_flow
from flowzoo.training.load import load_run
from flowzoo.training.loop import Run, load_data, train
from flowzoo.training.state import merge
from flowzoo_tests.training.small import small_config


def started(config):
    run = Run(config, load_data(config))
    return merge(run.graph, run.start(starting_flow(config, "nowhere")).variables)


def test_a_run_starts_where_another_was_best_with_a_schedule_of_its_own(tmp_path):
    config = small_config(num_epochs=2)
    dataset = load_data(config)
    train(config, dataset, tmp_path / "first")
    first = load_run(tmp_path / "first")[0]
    longer = small_config(num_epochs=1, start_from=str(tmp_path / "first"))
    x = dataset.model_space("validation", jax.random.key(0))[:50]
    np.testing.assert_array_equal(started(longer).log_prob(x), first.log_prob(x))
    trained = train(longer, dataset, tmp_path / "second")
    assert trained.epochs == 1
    assert load_run(tmp_path / "second")[2].start_from == str(tmp_path / "first")
    assert trained.flow.log_prob(x).mean() > first.log_prob(x).mean() - 1
    # A run that goes on needs what it started from no more.
    gone = small_config(start_from=str(tmp_path / "gone"))
    assert starting_flow(gone, tmp_path / "second") is None


def test_a_run_starts_from_a_packaged_model_or_a_file(tmp_path):
    model = flowzoo.load_pretrained("digits_maf5")
    config = small_config(model=model.card["model"], start_from="digits_maf5")
    x = load_data(config).model_space("validation", jax.random.key(0))[:50]
    np.testing.assert_allclose(started(config).log_prob(x), model.flow.log_prob(x), rtol=1e-5)
    flowzoo.save(model.flow, tmp_path / "maf.safetensors")
    config.start_from = str(tmp_path / "maf.safetensors")
    np.testing.assert_allclose(started(config).log_prob(x), model.flow.log_prob(x), rtol=1e-5)


def test_another_model_and_nothing_at_all_get_a_sentence(tmp_path):
    config = small_config(num_epochs=1)
    with pytest.raises(ValueError, match="another model than the config's"):
        started(small_config(start_from="digits_maf5"))
    nowhere = small_config(start_from=str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="is not a directory, expected a pretrained model"):
        started(nowhere)
    with pytest.raises(FileNotFoundError, match="expected the workdir of a run"):
        Run(nowhere, load_data(nowhere)).start()
    train(config, load_data(config), tmp_path / "first")
    wider = dict(config.model.to_dict(), num_layers=5)
    with pytest.raises(ValueError, match="belongs to another model"):
        started(small_config(model=wider, start_from=str(tmp_path / "first")))


def test_an_augmentation_of_the_config_is_that_of_the_data():
    assert load_data(small_config()).augmentation == "none"
    turned = load_data(small_config(dataset=dict(augmentation="dihedral")))
    assert turned.augmentation == "dihedral"
    with pytest.raises(ValueError, match="these data are none"):
        dataclasses.replace(turned, image_shape=None)
