import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // Bounds against hanging, not goals: a machine with two cores runs containers and browsers beside these.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // Three workers on the two cores this must run on: a third of the tests mostly wait, for a timetable or a peer.
    maxWorkers: 3,
  },
});
