mod rc;
mod runs;
