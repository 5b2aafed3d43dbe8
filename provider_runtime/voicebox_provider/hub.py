"""A model fetched from a hub into a directory: a script for an environment that has huggingface_hub and nothing of ours. With `-I`,
for a module beside it is called requests too.

    python -I hub.py size REPO            prints {"bytes": N, "files": N, "revision": COMMIT}
    python -I hub.py fetch REPO COMMIT DIRECTORY

`HF_ENDPOINT`, `HF_HUB_OFFLINE` and the rest of its variables hold. What a fetch that was interrupted left in DIRECTORY is gone on
with. Standard error shows how far it is. Ends with 0; else with the reason on standard output, and 3 if no hub can be reached; 4 if it
has no such repository, or does not show it; 1 for the rest.
"""

from __future__ import annotations

import json
import os
import sys

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

UNREACHABLE = 3
NOT_THERE = 4


def main(arguments: list[str]) -> int:
    """Gives the exit code."""
    import requests
    from huggingface_hub import errors
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        sys.stdout.write("HF_HUB_OFFLINE is set\n")
        return UNREACHABLE
    try:
        _carry_out(*arguments)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.GatedRepoError) as error:
        sys.stdout.write(f"{_words(error)}\n")
        return NOT_THERE
    except requests.exceptions.ChunkedEncodingError:
        sys.stdout.write(f"the connection to {ENDPOINT} broke off\n")
        return UNREACHABLE
    except (requests.ConnectionError, requests.Timeout, errors.LocalEntryNotFoundError):
        sys.stdout.write(f"{ENDPOINT} does not answer\n")
        return UNREACHABLE
    except requests.RequestException as error:
        sys.stdout.write(f"{_words(error)}\n")
        return UNREACHABLE
    except (OSError, ValueError) as error:
        sys.stdout.write(f"{_words(error)}\n")
        return 1
    return 0


def _carry_out(action: str, repo: str, *more: str) -> None:
    from huggingface_hub import HfApi, snapshot_download

    if action == "size":
        info = HfApi().model_info(repo, files_metadata=True, timeout=30)
        files = info.siblings or []
        sizes = {"bytes": sum(each.size or 0 for each in files), "files": len(files), "revision": info.sha}
        sys.stdout.write(json.dumps(sizes) + "\n")
    else:
        revision, directory = more
        snapshot_download(repo, revision=revision, local_dir=directory)


def _words(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(" .") or type(error).__name__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
