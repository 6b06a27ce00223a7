"""Pages: the list of jobs, a job, the API's documentation, what an error means; and the files they load.

The application includes ``router``; nothing else is to be mounted.
"""

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
