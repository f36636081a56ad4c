// café in Latin-1: not UTF-8, so no line of it is counted
