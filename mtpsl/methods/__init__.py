"""The methods that belong to no paper here, and the contract that every method keeps."""

from mtpsl.methods.base import Method, Teacher, Terms
from mtpsl.methods.mtan import MTAN
from mtpsl.methods.semi_supervised import SemiSupervised
from mtpsl.methods.supervised import Supervised

__all__ = ["METHODS", "Method", "Teacher", "Terms"]

METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "semi_supervised": SemiSupervised,
    "mtan": MTAN,
}
