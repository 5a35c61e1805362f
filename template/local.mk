# Your own targets. This file is yours: updates never touch it.
