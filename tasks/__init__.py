"""How each stage does its work. One room a stage; in each room `tasks.py` is the only module that imports Prefect."""
