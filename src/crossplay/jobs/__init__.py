"""Floor 7, jobs: long-running training by workers, and its supervision.

Lives here: the server that offers our environments on the wire to trainers in other interpreters (`envserver`, `rows`,
`filled`), the jobs of a folder (`registry`), the engine process of each (`running`), what trainers tell (`telling`),
locks and GPU slots (`locks`), and the workers for frameworks that the kit ships (`frameworks`).
Does not: learning algorithms (train), the page that shows jobs (web).
"""
