"""What a process of the bridge can be: listen, web, work. `serve` is all of them in one."""
