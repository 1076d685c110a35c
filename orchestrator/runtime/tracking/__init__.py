"""Where a run or a sweep is tracked, and how it is described to the tracker."""
