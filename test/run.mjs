/**
 * `npm test [-- vitest arguments]`: runs vitest under the pinned Node, named by its path so that no shell's memory of
 * another `node` matters, and prints `N passed, N failed` as its last line.
 *
 * What did not run counts as failed: a file that does not load, a crash, no tests at all.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pinnedNode } from './setup.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = mkdtempSync(join(tmpdir(), 'kakehashi-test-'));
const report = join(folder, 'report.json');
const vitest = [
  join(root, 'node_modules', 'vitest', 'vitest.mjs'),
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
];

const child = spawn(pinnedNode, [...vitest, ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
  env: {
    ...process.env,
    PATH: `${join(root, 'node_modules', '.bin')}${delimiter}${process.env.PATH}`,
    // The product is started some thousand times: each start from compiled code is a third of a second less.
    NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'kakehashi'),
  },
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
child.on('error', () => end(1));
child.on('exit', (code, signal) => end(code ?? 128 + constants.signals[signal]));

function end(code) {
  const { passed, failed } = tally(code);
  rmSync(folder, { recursive: true, force: true });
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  process.exitCode = failed === 0 ? 0 : 1;
}

function tally(code) {
  const { numPassedTests: passed, numFailedTests, testResults } = readReport();
  const unloaded = testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0).length;
  const failed = numFailedTests + unloaded;
  const nothingSaidWhy = failed === 0 && (code !== 0 || passed === 0);
  return { passed, failed: nothingSaidWhy ? 1 : failed };
}

/** vitest writes its report last; none means that it did not get there. */
function readReport() {
  try {
    return JSON.parse(readFileSync(report, 'utf8'));
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    return { numPassedTests: 0, numFailedTests: 0, testResults: [] };
  }
}
