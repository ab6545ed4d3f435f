"""`python -m nsr.book [CHAPTER ...]`: execute chapters in place, all of them unless some are named."""

import sys

from nsr.book.notebooks import main

if __name__ == "__main__":
    main(sys.argv[1:])
