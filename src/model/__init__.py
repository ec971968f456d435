"""The original's import path: `from model.model import Model`, `from model.data import Data`."""
