"""What `test_fuzz.py` needs: valid calls, what to put in place of an argument, and verdicts."""
