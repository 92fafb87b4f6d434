from .errors import RaytrainError as RaytrainError
from .execution.api import Run as Run
from .execution.api import open_run as open_run
from .execution.api import plan as plan
from .execution.api import read_experiment as read_experiment
from .execution.api import run as run
from .execution.api import training_data as training_data
from .execution.initial import initial_weights as initial_weights
from .experiment.experiment import Experiment as Experiment
from .experiment.user_code import code as code
from .inference.model import load_model as load_model
from .training.initial.sources import weights as weights
from .training.loop import train as train
from .training.recipe import Recipe as Recipe
from .training.state import TrainState as TrainState

__version__: str
