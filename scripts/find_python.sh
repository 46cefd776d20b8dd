#!/bin/sh
# Prints a Python that .venv can be made with: $1 if given, else the first that fits. One sentence and 2 if none does.

fits='import sys; sys.exit(sys.version_info < (3, 11))'

if [ -n "$1" ]; then
    if "$1" -c "$fits" >/dev/null 2>&1; then
        echo "$1"
        exit 0
    fi
    found=$("$1" -c 'import platform; print("Python " + platform.python_version())' 2>/dev/null)
    echo "cqlbench needs Python 3.11 or newer, and PYTHON=$1 is ${found:-no working Python}." >&2
    exit 2
fi

# 3.11 first: requirements.lock was made with it.
for candidate in python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c "$fits; import ensurepip, venv" >/dev/null 2>&1; then
        echo "$candidate"
        exit 0
    fi
done

found=$(python3 -c 'import platform; print("python3 is " + platform.python_version())' 2>/dev/null)
echo "cqlbench needs Python 3.11 or newer with venv and ensurepip, and none is on the PATH (${found:-there is no python3}): install one, or name it with PYTHON=/path/to/python3.11." >&2
exit 2
