"""Settings under which XLA compiles quickly.

The programs of the tests run a few times on a few numbers: compiling them is all that costs. XLA's
older code generator takes half the time, and dividing small programs over threads costs some.
"""

QUICK = {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "XLA_FLAGS": ("--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"),
}
