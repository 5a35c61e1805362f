"""Compares Cloud Run itself with the offline one, once, in a project of yours: `make verify-gcp`.

The offline Cloud Run follows documentation and reports. This deploys a probe of two containers, sends it requests,
leaves it idle, ends it, and prints for each rule whether Cloud Run did the same. The authors have not run it on Google
Cloud: the first run is yours, and what differs is worth an issue.
"""
