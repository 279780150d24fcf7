"""The C entry point of a kernel: pointers become array views, then the body runs."""

import linecache


def entry(kernel, variant):
    """The Python function of a kernel's entry point, for Numba, and its Numba signature."""
    from numba import carray, types

    def numba_type(p):
        scalar = getattr(types, variant.get(p.type_name, p.type_name))
        return types.CPointer(scalar) if p.extents else scalar

    views = "".join(
        f"    {p.name} = carray({p.name}, ({', '.join(p.extents)},))\n"
        for p in kernel.parameters
        if p.extents
    )
    names = [p.name for p in kernel.parameters]
    source = (
        f"def entry({', '.join([*names, *kernel.dims, 'start', 'stop'])}):\n{views}"
        f"    body({', '.join([*names, 'start', 'stop'])})\n"
    )
    title = f"<entry of kernel {kernel.where}>"
    linecache.cache[title] = len(source), None, source.splitlines(True), title
    integers = {name: value for name, value in kernel.constants.items() if type(value) is int}
    scope = integers | {"carray": carray, "body": kernel.body}
    exec(compile(source, title, "exec"), scope)
    return scope["entry"], types.void(
        *map(numba_type, kernel.parameters), *[types.int64] * (len(kernel.dims) + 2)
    )
