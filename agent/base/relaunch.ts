/**
 * An agent lives for months, so `run` begins as the installed service does, also when it is started from source: with
 * Node's compile cache, two allocation arenas and little young garbage. None of these can be had once a process runs,
 * so it is replaced, once, by itself: same process id, same arguments.
 *
 * The cache is what saves most. Node strips the types with a compiler that stays in memory for as long as the process
 * lives; from the cache the files come stripped and compiled, and it is never loaded. The cache holds code and nothing
 * else, one entry a source file, and is checked against the file before it is used. Whoever can write there can run code
 * as the agent, so it lies with the code, or in a folder of the service user's own, never in a shared temporary folder.
 * Where it cannot be written there is none, and the agent works without.
 */
import { fileURLToPath } from 'node:url';

/** Young garbage, MiB: see installers/linux/files/kakehashi.sh. */
const flags = ['--max-semi-space-size=2'];

/** Beside the packages the code needs; only who may change the code can write there. */
export const cacheFolder = fileURLToPath(new URL('../../node_modules/.cache/kakehashi', import.meta.url));

/** Returns where nothing is to be gained: the launcher has set all this, or the system cannot replace a process. */
export function relaunch(env: Readonly<Record<string, string | undefined>>): void {
  if (env['NODE_COMPILE_CACHE'] !== undefined || !process.execve || process.platform === 'win32') return;
  const missing = flags.filter((flag) => !process.execArgv.includes(flag));
  process.execve(process.execPath, [process.execPath, ...process.execArgv, ...missing, ...process.argv.slice(1)], {
    ...process.env,
    NODE_COMPILE_CACHE: cacheFolder,
    MALLOC_ARENA_MAX: env['MALLOC_ARENA_MAX'] ?? '2',
  });
}
