"""The name that was probably meant. A far one is worse than none, so only a slip of the fingers or a synonym counts."""

from collections.abc import Iterable

SYNONYMS = {
    "activation_function": ("activation",),
    "algorithm": ("learner",),
    "architecture": ("network",),
    "backpropagation": ("backprop",),
    "batchsize": ("batch_size",),
    "beta1": ("betas",),
    "beta2": ("betas",),
    "bp": ("backprop",),
    "bs": ("batch_size",),
    "convnet": ("cnn",),
    "data": ("dataset",),
    "dfa": ("feedback_alignment",),
    "direct_feedback_alignment": ("feedback_alignment",),
    "dropout_rate": ("dropout",),
    "ep": ("equilibrium_propagation",),
    "epsilon": ("eps",),
    "eqprop": ("equilibrium_propagation",),
    "es": ("evolution_strategies",),
    "fa": ("feedback_alignment",),
    "ff": ("forward_forward",),
    "gpu": ("cuda",),
    "hidden_dim": ("hidden", "width"),
    "hidden_dims": ("hidden",),
    "hidden_layer_sizes": ("hidden",),
    "hidden_layers": ("hidden",),
    "hidden_size": ("hidden", "width"),
    "hidden_sizes": ("hidden",),
    "hidden_units": ("hidden",),
    "hyperparameters": ("training",),
    "l2": ("weight_decay",),
    "l2_penalty": ("weight_decay",),
    "layer_sizes": ("hidden",),
    "learning_rate": ("lr",),
    "learning_rate_multiplier": ("lr",),
    "lr_scheduler": ("schedule",),
    "manual_seed": ("seed",),
    "max_epochs": ("epochs",),
    "max_iter": ("epochs",),
    "max_steps": ("budget",),
    "max_time": ("budget",),
    "metadata": ("labels",),
    "minibatch_size": ("batch_size",),
    "model": ("network",),
    "n_epochs": ("epochs",),
    "nonlinearity": ("activation",),
    "num_epochs": ("epochs",),
    "num_heads": ("heads",),
    "num_layers": ("layers",),
    "num_steps": ("budget",),
    "pc": ("predictive_coding",),
    "random_seed": ("seed",),
    "random_state": ("seed",),
    "rule": ("learner",),
    "spiking_network": ("spiking",),
    "scheduler": ("schedule",),
    "snn": ("spiking",),
    "steps": ("budget",),
    "tags": ("labels",),
    "total_steps": ("budget",),
    "training_file": ("dataset",),
    "wd": ("weight_decay",),
}
"""What users of PyTorch, Lightning, scikit-learn and OpenAI's API write -> what it may be called here."""

STEPS = '"budget": {"kind": "steps", "value": 1000}'
WRITTEN = {
    "max_steps": STEPS,
    "max_time": '"budget": {"kind": "seconds", "value": 60}',
    "num_steps": STEPS,
    "steps": STEPS,
    "total_steps": STEPS,
}
"""Of these the name alone would not help: how it is written here."""

_LONGEST = 64
_SHORT = 4


def meant(given: str, known: Iterable[str]) -> str | None:
    """The known name that ``given`` was meant to be, or None."""
    plain = _plain(given)
    if not 2 <= len(plain) <= _LONGEST:
        return None
    names = {_plain(name): name for name in known}
    if plain in names:
        return names[plain]
    for synonym in SYNONYMS.get(_given(given), ()):
        if _plain(synonym) in names:
            return names[_plain(synonym)]
    slips = {name: _slips(plain, name) for name in names if abs(len(name) - len(plain)) <= 3}
    nearest = min(slips, key=lambda name: slips[name], default="")
    if not nearest or slips[nearest] > max(1, min(3, len(plain) // 4)):
        return None
    return names[nearest]


def asked(given: str, known: Iterable[str]) -> str:
    """``; did you mean 'epochs'?``, with an example where it is written otherwise, or nothing."""
    name = meant(given, known)
    if name is None:
        return ""
    written = WRITTEN.get(_given(given)) if name == "budget" else None
    return f"; did you mean {name!r}?" + (f" Write {written}" if written else "")


def _given(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def _slips(given: str, name: str) -> int:
    """Letters left out, added, changed or swapped with their neighbour (optimal string alignment).

    In a short word a changed letter makes another word (tpu, cpu): it counts twice.
    """
    changed = 2 if min(len(given), len(name)) <= _SHORT else 1
    above: list[int] = []
    row = list(range(len(name) + 1))
    for i, letter in enumerate(given, 1):
        above, before, row = row, above, [i]
        for j, other in enumerate(name, 1):
            cost = 0 if letter == other else changed
            best = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + cost)
            if i > 1 and j > 1 and letter == name[j - 2] and given[i - 2] == other:
                best = min(best, before[j - 2] + 1)
            row.append(best)
    return row[-1]
