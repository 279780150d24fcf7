"""String similarity: distances and similarities of all pairs of short strings: edit distances by
bit-parallel steps (Myers 1999, Hyyrö 2003), Jaro and Winkler, and overlaps of q-grams. Strings
become arrays of code points on the host; all else happens where these arrays live."""

from .packing import PackedStrings, pack_strings
from .routines import string_similarity
