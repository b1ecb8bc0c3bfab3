"""Two rows side by side: is it the same question, do the answers disagree, may both be right?"""
