"""SASRec and eSASRec of RecTools on a split of interactions, trained to their best validation loss.

    python sequential.py interactions.csv lists.npz --model sasrec [--factors 64] [--length 200] [--seed 0]

The table has the columns user, item and order, and `part`: 0 train, 1 validation, 2 test. The lists of 20 items, without
those seen before, are written for validation (history: train) and test (train and validation).
eSASRec: SASRec's objective with LiGR layers and sampled softmax, as its authors name it (RecSys 2025).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers

VALIDATION: dict[str, pd.MultiIndex] = {}


def validation_mask(interactions: pd.DataFrame, **_: object) -> np.ndarray:
    """Which interactions are for validation."""
    return pd.MultiIndex.from_frame(interactions[[Columns.User, Columns.Datetime]]).isin(VALIDATION["rows"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=("sasrec", "esasrec"), default="sasrec")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--negatives", type=int, default=256)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--patience", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="of the processor, after which no epoch begins; 0: any"
    )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        help="folder in which every epoch is kept, and from which a run that was cut off continues",
    )
    parser.add_argument("--weights", type=Path, help="a checkpoint of an earlier run, instead of training")
    parser.add_argument("--weights-seconds", type=float, default=0.0, help="that training it took")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    table = pd.read_csv(given.table)
    frame = table.rename(columns={"user": Columns.User, "item": Columns.Item})
    frame[Columns.Datetime] = pd.Timestamp("2020-01-01") + pd.to_timedelta(frame["order"], unit="s")
    frame[Columns.Weight] = 1.0
    columns = [Columns.User, Columns.Item, Columns.Weight, Columns.Datetime]
    seen = frame[frame["part"] < 2][columns]
    VALIDATION["rows"] = pd.MultiIndex.from_frame(frame[frame["part"] == 1][[Columns.User, Columns.Datetime]])
    folder = given.checkpoints or Path(tempfile.mkdtemp())
    last = folder / "last.ckpt"
    best = ModelCheckpoint(folder, monitor="val_loss", save_weights_only=not given.checkpoints, save_last=True)
    stop = EarlyStopping("val_loss", patience=given.patience)
    record = folder / "log.json"
    log: list[list[float]] = json.loads(record.read_text()) if given.checkpoints and last.exists() else []
    began = time.process_time() - (log[-1][0] if log else 0.0)  # of a core, which others may use as well

    class Log(EarlyStopping):
        def on_validation_end(self, trainer: Trainer, module: object) -> None:
            if not trainer.sanity_checking:
                log.append([time.process_time() - began, float(trainer.callback_metrics["val_loss"])])
                print(trainer.current_epoch, *log[-1], flush=True)
                if given.checkpoints:
                    record.write_text(json.dumps(log))
                if given.seconds and log[-1][0] > given.seconds:
                    trainer.should_stop = True

    class Resuming(Trainer):
        def fit(self, *parts: object, **named: object) -> None:
            super().fit(*parts, **named, ckpt_path=last if given.checkpoints and last.exists() else None)

    def trainer() -> Trainer:
        return Resuming(
            accelerator="cpu", max_epochs=0 if given.weights else given.epochs, callbacks=[best, stop, Log("val_loss")],
            logger=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip

    more = {}
    if given.model == "esasrec":
        more = {"transformer_layers_type": LiGRLayers, "loss": "sampled_softmax", "n_negatives": given.negatives}
    model = SASRecModel(
        n_blocks=given.blocks, n_heads=given.heads, n_factors=given.factors, dropout_rate=given.dropout,
        session_max_len=given.length, batch_size=given.batch, lr=given.rate, epochs=given.epochs, deterministic=False,
        get_val_mask_func=validation_mask, get_trainer_func=trainer, recommend_n_threads=1, **more,
    )  # fmt: skip
    model.fit(Dataset.construct(seen))
    seconds = time.process_time() - began
    best = model.fit_trainer.checkpoint_callback  # the trainer that was given is copied
    if given.weights:
        seconds = given.weights_seconds
    state = torch.load(given.weights or best.best_model_path, weights_only=False)["state_dict"]
    model.lightning_model.load_state_dict(state)
    found = {}
    for number, name in enumerate(("validation", "test"), start=1):
        part = frame[frame["part"] < number][columns]
        asked = sorted(set(part[Columns.User]) & set(frame[frame["part"] == number][Columns.User]))
        lists = model.recommend(
            asked, Dataset.construct(part), k=20, filter_viewed=True, on_unsupported_targets="ignore"
        )
        users, items = (lists[column].to_numpy() for column in (Columns.User, Columns.Item))
        found[f"{name}_user"], found[f"{name}_item"] = users, items
    settings = {
        key: value for key, value in vars(given).items() if key not in ("table", "out", "weights", "checkpoints")
    }
    facts = {"settings": settings, "seconds": seconds, "log": log, "best_loss": float(best.best_model_score or "nan")}
    np.savez(given.out, facts=json.dumps(facts), **found)
    print(json.dumps(facts["settings"]), f"{seconds:.0f} s, best validation loss {facts['best_loss']:.4f}")


if __name__ == "__main__":
    main()
