"""Use cases of both routes: runs, the board that replays them, generation, scorers."""
