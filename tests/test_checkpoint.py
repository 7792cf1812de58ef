"""Files of weights: what they say, what they refuse, and that older ones are still read."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from grannfield import checkpoint
from grannfield.checkpoint import ENTRY, CheckpointError, header_of, pack, tensors_hash, unpack
from grannfield.checkpoint_command import facts
from grannfield.cli import main
from grannfield.forcefield import ForceField, create, load, registered, save, weights_hash
from grannfield.plugin import SHIPPED

SIZES = {"hidden_channels": 8, "num_filters": 8, "num_interactions": 1, "num_gaussians": 6, "cutoff": 4.0}


def field(**settings: Any) -> ForceField:
    torch.manual_seed(0)
    made = create("schnet", **(SIZES | settings))
    made.elements = (3, 16)
    made.provenance = {"material": "Li3PS4", "training_data": "ab" * 32, "licence": "CC BY 4.0", "validation": None}
    return made


def written(path: Path, made: ForceField) -> Path:
    """As `save` writes once it delegates."""
    path.write_bytes(pack(header_of(made.name, made.settings, made.elements, made.provenance), made.state_dict()))
    return path


def tampered(path: Path, change: Any) -> Path:
    """The same file with another header, or with other bytes of weights."""
    content = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    change(header, data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
    return path


def test_a_file_says_what_it_is_and_comes_back(tmp_path: Path) -> None:
    made = field(as_published=True)
    path = written(tmp_path / "a.safetensors", made)
    header, tensors = unpack(path)
    assert (header["format"], header["model"], header["behaviour"]) == (1, "schnet", "published")
    assert header["units"] == checkpoint.UNITS and header["licence"] == "CC BY 4.0" and header["training_data"] == "ab" * 32
    assert header["weights_sha256"] == tensors_hash(tensors) == tensors_hash(made.state_dict())
    again = load(path)
    assert weights_hash(again) == weights_hash(made) and again.elements == (3, 16) and again.provenance == made.provenance
    assert b"pickle" not in path.read_bytes() and path.read_bytes() == written(tmp_path / "b.safetensors", made).read_bytes()
    halved = {key: value.half() for key, value in made.state_dict().items()}
    (tmp_path / "c.safetensors").write_bytes(pack(header_of(made.name, made.settings, None, {}), halved))
    assert unpack(tmp_path / "c.safetensors")[0]["format"] == 2


def test_the_shipped_files_and_older_ones_are_read(tmp_path: Path) -> None:
    """Without hash, behaviour or licence in the header: these read `not stated`, and the weights are the same."""
    for name in registered():
        header, tensors = unpack(SHIPPED / f"{name}.safetensors")
        assert header["model"] == name and len(tensors) > 10
    made = field()
    old = {"format": 1, "model": "schnet", "settings": made.settings, "elements": [3], "provenance": {}}
    old["units"] = {"length": "angstrom", "energy": "eV"}
    save_file(made.state_dict(), tmp_path / "old.safetensors", metadata={ENTRY: json.dumps(old)})
    told = facts(tmp_path / "old.safetensors")
    assert told["licence"] == told["training data"] == told["written by"] == "not stated" and "before hashes" in told["weights"]
    assert told["behaviour"] == "default" and told["identity"] == weights_hash(made) and told["elements"] == ["Li"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, d: d.__setitem__(4, d[4] ^ 1), r"the weights are not those it was written with \(SHA-256 \w{12}"),
        (lambda h, d: h["__metadata__"].update({ENTRY: "{"}), "cannot be read as a safetensors checkpoint"),
        (lambda h, d: h["__metadata__"].update({ENTRY: "[1]"}), "does not say which GraNNField model"),
        (lambda h, d: h.pop("__metadata__"), "does not say which GraNNField model"),
        (lambda h, d: _entry(h, format=9), "has format 9; this version reads up to 2: upgrade grannfield"),
        (lambda h, d: _entry(h, format="new"), "a whole number from 1; here it is 'new'"),
        (lambda h, d: _entry(h, settings=[]), "model and settings should be a name and a table"),
        (lambda h, d: _entry(h, units={"energy": "kcal/mol"}), "is in kcal/mol for energy; checkpoints are in eV"),
        (lambda h, d: d.__delitem__(slice(-40, None)), "it may be truncated"),
    ],
)
def test_broken_files_are_refused_by_name(change: Any, message: str, tmp_path: Path) -> None:
    path = tampered(written(tmp_path / "field.safetensors", field()), change)
    with pytest.raises(CheckpointError, match=rf"field\.safetensors.*{message}"):
        unpack(path)


def _entry(header: dict[str, Any], **changes: Any) -> None:
    header["__metadata__"][ENTRY] = json.dumps(json.loads(header["__metadata__"][ENTRY]) | changes)


def test_what_json_cannot_hold_is_refused_when_written() -> None:
    with pytest.raises(CheckpointError, match="the settings or provenance of schnet are not plain values"):
        pack(header_of("schnet", {"cutoff": torch.ones(1)}, None, {}), {})


def test_the_command_shows_a_file_and_refuses_a_broken_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "best.safetensors", field())
    assert main(["checkpoint", "show", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for part in (
        "schnet",
        "default",
        "Li, S",
        "energy = eV",
        "CC BY 4.0",
        "ab" * 32,
        "as written",
        "Li3PS4 (reference not stated)",
    ):
        assert part in printed, part
    assert main(["checkpoint", "show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"]["material"] == "Li3PS4"
    tampered(path, lambda h, d: d.__setitem__(4, d[4] ^ 1))
    assert main(["checkpoint", "show", str(path)]) == 2 and "not those it was written with" in capsys.readouterr().err
    assert main(["checkpoint", "show", str(tmp_path / "none")]) == 2 and "neither a model" in capsys.readouterr().err
    assert main(["checkpoint", "show", "control:exact"]) == 2 and "is no checkpoint, but code" in capsys.readouterr().err


def test_nan_weights_are_named(tmp_path: Path) -> None:
    made = field()
    with torch.no_grad():
        made.head1.bias.fill_(float("nan"))  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match=r"n\.safetensors: weights hold NaN or infinity \(head1.bias\)"):
        facts(written(tmp_path / "n.safetensors", made))


def test_save_and_load_keep_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "field.safetensors"
    save(field(), path)
    assert unpack(path)[0]["weights_sha256"] and path.read_bytes() == written(tmp_path / "b.safetensors", field()).read_bytes()
    with pytest.raises(CheckpointError, match="not those it was written with"):
        load(tampered(path, lambda h, d: d.__setitem__(4, d[4] ^ 1)))
    made = field()
    with torch.no_grad():
        made.head1.bias.fill_(float("nan"))  # type: ignore[union-attr]
    save(made, path)
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        load(path)
