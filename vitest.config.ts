import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Two workers: the machines this must run on have two cores, and the fault tests start processes of their own.
    maxWorkers: 2,
  },
});
