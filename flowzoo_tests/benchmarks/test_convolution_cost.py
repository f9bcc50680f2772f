from flowzoo.benchmarks.convolution_cost import programs


def test_every_program_runs():
    timed = programs(channels=2, pixels=4, taps=3, batch=3)
    assert set(timed) == {"floor", "ordinary", "relative", "log_det"}
    for program in timed.values():
        program(1)
