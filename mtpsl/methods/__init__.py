"""The methods that belong to no paper here, and the contract that every method keeps."""

from mtpsl.methods.base import Method, Teacher, Terms
from mtpsl.methods.baselines import MTAN, SemiSupervised, Supervised

__all__ = ["METHODS", "Method", "Teacher", "Terms"]

METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "semi_supervised": SemiSupervised,
    "mtan": MTAN,
}
