import pytest
from hypothesis import configuration


@pytest.fixture(scope="session", autouse=True)
def no_folder_in_the_tree(tmp_path_factory):
    """hypothesis keeps its tables in .hypothesis, wherever it is started."""
    configuration.set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))
