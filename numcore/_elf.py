"""A loader of relocatable ELF object code for Linux x86-64: map the sections, apply the
relocations, make them executable.

Kernels need nothing else of a linker: they are position independent and refer to libm alone.
Everything that is not known here raises `Unsupported`, and LLVM's linker is used instead.
"""

import ctypes
import functools
import mmap
import struct

PROGBITS, SYMTAB, RELA, NOBITS = 1, 2, 4, 8
ALLOC, EXECUTABLE = 2, 4
R_64, R_PC32, R_PLT32, R_GOTPCREL, R_GOTPCRELX, R_REX_GOTPCRELX = 1, 2, 4, 9, 41, 42
PAGE = mmap.PAGESIZE

_mapped = []  # code lives as long as the process


class Unsupported(Exception):
    """The object code needs something that this loader does not do."""


@functools.cache
def _outside():
    libraries = []
    for name in (None, "libm.so.6"):
        try:
            libraries.append(ctypes.CDLL(name))
        except (OSError, TypeError):
            pass
    return libraries


def outside_address(symbol):
    """The address of a C function of this process or of libm, 0 if there is none."""
    for library in _outside():
        try:
            return ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value
        except AttributeError:
            pass
    return 0


def load(code, entries):
    """Map object code into the process; the addresses of `entries`."""
    if code[:5] != b"\x7fELF\x02" or struct.unpack_from("<HH", code, 16) != (1, 62):
        raise Unsupported("not a relocatable x86-64 object")
    (section_offset,) = struct.unpack_from("<Q", code, 40)
    section_size, section_count = struct.unpack_from("<HH", code, 58)
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", code, section_offset + i * section_size)
        for i in range(section_count)
    ]
    # a section: name, type, flags, address, offset, size, link, info, alignment, entry size

    # code first, then data on pages of its own, then one stub (jump, then address) and one address
    # slot per outside symbol
    placed, end = {}, 0
    for executable in (True, False):
        end = -(-end // PAGE) * PAGE
        for i, (_, kind, flags, _, _, size, _, _, alignment, _) in enumerate(sections):
            if (
                flags & ALLOC
                and bool(flags & EXECUTABLE) == executable
                and kind in (PROGBITS, NOBITS)
            ):
                end = -(-end // max(alignment, 1)) * max(alignment, 1)
                placed[i], end = end, end + size
        if executable:
            stubs = -(-end // 16) * 16
            end = stubs + 16 * _symbol_count(sections)
            code_end = -(-end // PAGE) * PAGE
        else:
            slots = -(-end // 16) * 16
            end = slots + 8 * _symbol_count(sections)
    memory = mmap.mmap(
        -1,
        max(end, 1),
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
        prot=mmap.PROT_READ | mmap.PROT_WRITE,
    )
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for i, at in placed.items():
        _, kind, _, _, offset, size, *_ = sections[i]
        if kind == PROGBITS:
            memory[at : at + size] = code[offset : offset + size]

    symbols = _symbols(code, sections)
    addresses = [_address(symbol, placed, base) for symbol in symbols]
    for _, kind, _, _, offset, size, _, target, _, entry_size in sections:
        if kind == RELA and target in placed:
            for at in range(offset, offset + size, entry_size):
                where, info, addend = struct.unpack_from("<QQq", code, at)
                number, kind_of = info >> 32, info & 0xFFFFFFFF
                _relocate(
                    memory,
                    base,
                    placed[target] + where,
                    kind_of,
                    addresses[number],
                    addend,
                    stubs + 16 * number,
                    slots + 8 * number,
                )
    if code_end and ctypes.CDLL(None, use_errno=True).mprotect(
        ctypes.c_void_p(base), ctypes.c_size_t(code_end), mmap.PROT_READ | mmap.PROT_EXEC
    ):
        raise Unsupported("the system forbids executable memory")
    _mapped.append(memory)
    found = {
        name: address
        for (name, *_), address in zip(symbols, addresses, strict=True)
        if name in entries
    }
    if set(found) != set(entries):
        raise Unsupported("entry points are missing")
    return found


def _symbol_count(sections):
    return sum(size // 24 for _, kind, _, _, _, size, *_ in sections if kind == SYMTAB)


def _symbols(code, sections):
    """(name, section index, value) of every symbol."""
    symbols = []
    for _, kind, _, _, offset, size, strings, *_ in sections:
        if kind == SYMTAB:
            names = sections[strings][4]
            for at in range(offset, offset + size, 24):
                name, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", code, at)
                symbols.append(
                    (code[names + name : code.index(b"\0", names + name)].decode(), section, value)
                )
    return symbols


def _address(symbol, placed, base):
    name, section, value = symbol
    if section:
        return base + placed[section] + value if section in placed else None
    return outside_address(name) if name else None


def _relocate(memory, base, at, kind, address, addend, stub, slot):
    if address is None or not address:
        raise Unsupported("a symbol is not known")
    if kind == R_64:
        struct.pack_into("<Q", memory, at, (address + addend) % 2**64)
        return
    if kind in (R_GOTPCREL, R_GOTPCRELX, R_REX_GOTPCRELX):
        struct.pack_into("<Q", memory, slot, address)
        distance = base + slot + addend - (base + at)
    elif kind in (R_PC32, R_PLT32):
        distance = address + addend - (base + at)
        if kind == R_PLT32 and not -(2**31) <= distance < 2**31:  # jmp [rip + 0], then the address
            memory[stub : stub + 6] = b"\xff\x25\x00\x00\x00\x00"
            struct.pack_into("<Q", memory, stub + 6, address)
            distance = base + stub + addend - (base + at)
    else:
        raise Unsupported(f"relocation type {kind}")
    if not -(2**31) <= distance < 2**31:
        raise Unsupported("a symbol is too far away")
    struct.pack_into("<i", memory, at, distance)
