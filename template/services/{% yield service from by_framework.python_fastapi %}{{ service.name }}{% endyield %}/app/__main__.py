"""Run the service: `python -m app`."""

from tracerun import serve

if __name__ == "__main__":
    serve("app.main:app")
