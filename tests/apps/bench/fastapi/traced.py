"""The app with the template's library."""

from tracerun import serve

if __name__ == "__main__":
    serve("main:app")
