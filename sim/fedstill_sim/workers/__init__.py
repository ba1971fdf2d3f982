"""Workers behind `concurrent.futures.Executor`: processes of this machine here, and Ray's actors in cluster/.

What the engine asks of an executor:

- Each call is a function at the top of a module, with arguments that can be pickled: `submit(train, shard)`.
  A worker imports the module by its name, and never the caller's program.
- A worker makes one call at a time, and is a process of its own: what it opens it keeps, which several
  threads cannot share. `concurrent.futures.ProcessPoolExecutor` is one; ThreadPoolExecutor is not.
- The run's folder is where its path says: all workers see the same files. Workers that do not are of a
  `RemoteExecutor` (remote.py), which sends them what they read, and gets back what they write.
- A call that a lost worker leaves may be made again, or fail with `WorkerLost`; the functions give the same
  result each time. An executor with an attribute `workers` (an int) says how many calls it makes at once.
"""
