mod random_runs;
mod rules;
mod slow;
mod world;
