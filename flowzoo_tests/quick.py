"""Settings under which XLA compiles quickly.

The programs of the tests run a few times on a few numbers: compiling them is all that costs. XLA's
older code generator takes half the time, and dividing small programs over threads costs some.
"""

import functools
import gc

QUICK = {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "XLA_FLAGS": ("--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"),
}


def make_programs_quickly():
    """Looks for garbage seldom, and keeps the context in which JAX makes programs.

    There is hardly any garbage, and it took an eighth of the tests' time. JAX makes a context for
    each program, which is a quarter of the time that a small one takes. `forget_context` ends it.
    """
    from jax._src.interpreters import mlir

    gc.set_threshold(100_000, 20, 50)
    # The name is JAX's own: a version without it only makes programs more slowly.
    if hasattr(mlir, "make_ir_context"):
        mlir.make_ir_context = functools.cache(mlir.make_ir_context)


def forget_context():
    """What programs were made of stays in their context."""
    from jax._src.interpreters import mlir

    if hasattr(mlir, "make_ir_context"):
        mlir.make_ir_context.cache_clear()
