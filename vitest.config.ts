import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // Bounds against hanging, not goals: a machine with two cores runs containers and browsers beside these.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // Two workers: the machines this must run on have two cores, and the fault tests start processes of their own.
    maxWorkers: 2,
  },
});
