"""What holds for every test."""

import signal
import threading

from hypothesis import settings

# No example has a time limit of its own: how long one takes is the machine's affair, and no test's.
settings.register_profile("aos", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("aos")

# A shell starts what it runs in the background deaf to Ctrl-C, and what that starts inherits it.
_in_main = threading.current_thread() is threading.main_thread()
if _in_main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
