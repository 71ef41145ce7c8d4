"""Person re-identification on Ray: FGSAM, its phases, its data and its search.

What `__init__.pyi` names is here as well, imported when it is first used: `import reid` itself loads neither torch nor
anything else.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
