from batchpipe.common.errors import BatchpipeError as BatchpipeError
from batchpipe.common.errors import CredentialsError as CredentialsError
from batchpipe.common.errors import DatabaseError as DatabaseError
from batchpipe.common.errors import GateError as GateError
from batchpipe.common.errors import InputError as InputError
from batchpipe.common.errors import InternalError as InternalError
from batchpipe.common.errors import LockedError as LockedError
from batchpipe.common.errors import PipelineError as PipelineError
from batchpipe.common.errors import ProviderError as ProviderError
from batchpipe.common.errors import UsageError as UsageError
from batchpipe.library.label import label as label
from batchpipe.library.pipeline import Pipeline as Pipeline
from batchpipe.library.project import Project as Project
from batchpipe.library.values import Plan as Plan
from batchpipe.library.values import Result as Result

__version__: str
__all__: list[str]

def __dir__() -> list[str]: ...
