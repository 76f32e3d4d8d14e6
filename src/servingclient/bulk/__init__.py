"""Large inputs on few requests: read, cut, sent some at a time, handed out in order."""
