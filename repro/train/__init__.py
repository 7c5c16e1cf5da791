"""Training loops, optimisers, recipes, checkpoints, evaluation."""

from repro.train.bleu_score import bleu, bleu_interval
from repro.train.checkpoint import load_checkpoint, save_checkpoint
from repro.train.data import TensorData, prepare
from repro.train.diagnose import profile_step
from repro.train.evaluate import evaluate, predict, reestimate_batch_norm
from repro.train.loop import Divergence, History, Trainer, fit
from repro.train.optim import AdaptiveLR
from repro.train.recipe import TrainRecipe

__all__ = [
    "AdaptiveLR",
    "Divergence",
    "History",
    "TensorData",
    "TrainRecipe",
    "Trainer",
    "bleu",
    "bleu_interval",
    "evaluate",
    "fit",
    "load_checkpoint",
    "predict",
    "prepare",
    "profile_step",
    "reestimate_batch_norm",
    "save_checkpoint",
]
