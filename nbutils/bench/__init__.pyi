from .attack_cost import bench_attack as bench_attack
from .funnel_cost import bench_bounds as bench_bounds, bench_funnel as bench_funnel
