"""Whether a model is measured on images that it was not trained on.

Where a data set has no test part, test images are set aside from the others, class by class. One image more or less
changes which ones these are, so most of them were training images of a model that was trained before.
"""

from raytrain.data import ImageDataset
from raytrain.errors import DataError
from raytrain.inference.model_file import ModelDescription
from raytrain.user_code.reference import without_digest


def are_of_the_run(description: ModelDescription, images: ImageDataset) -> bool | None:
    """Return whether images are those that a model was trained and tested on; None if its description does not say."""
    return None if description.fingerprint is None else images.fingerprint == description.fingerprint


def refuse_trained_on(description: ModelDescription, images: ImageDataset, *, name: str) -> None:
    """Refuse test images that were set aside from others than those of the run.

    That holds for a data set under another name too: it may be that of the run, moved and changed.

    Args:
        description: Description of the model.
        images: The data set to measure the model on.
        name: What messages call it.

    Raises:
        DataError: The images are others than those of the run, and the data set has no test part.
    """
    if not images.test_set_aside or are_of_the_run(description, images) is not False:
        return
    raise DataError(
        f"{without_digest(name)} has the fingerprint {images.fingerprint}, and the data set of the model has "
        f"{description.fingerprint}: these are other images. There is no test part, so the test images would be set "
        "aside from all, and the model may have been trained on most of them.\n"
        "Restore the images of the run; or give images that the model has not seen as a test part, test/ beside "
        "train/: --dataset PATH"
    )


def remark_on(description: ModelDescription, images: ImageDataset, *, name: str) -> str:
    """Return what to know of the images that a model was measured on, as a sentence; empty if there is nothing.

    Args:
        description: Description of the model.
        images: The data set, which `refuse_trained_on` has not refused.
        name: Its name, as a recipe keeps it.
    """
    same = are_of_the_run(description, images)
    if same is None and images.test_set_aside:
        return (
            f"{without_digest(name)} has no test part, and the model does not say which images it was trained on: if "
            "an image was added or removed since, it was trained on most of these test images"
        )
    if same is False and name == description.recipe["dataset"]:
        return f"{without_digest(name)} has changed since the run: these may be other test images than those of the run"
    return ""
