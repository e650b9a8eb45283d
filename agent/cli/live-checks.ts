/** What `check --live` asks, in order. Each looks at one thing, changes nothing, and does not throw for what it finds. */
import { statSync } from 'node:fs';
import { freeSpace } from '../base/files.ts';
import { readSiteKey } from '../base/keys.ts';
import { secretFile } from '../base/secret.ts';
import type { Config } from '../config/schema.ts';
import type { Doer } from '../health/index.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';

export interface CheckResult {
  /** What was looked at: `site key`, `source ehr-feed`. */
  readonly check: string;
  readonly state: 'ok' | 'warn' | 'fail';
  readonly found: string;
  /** What to do, where something is to be done, and whose work that is. */
  readonly todo?: string;
  readonly who?: Doer;
}

export type LiveCheck = (config: Config, signal: AbortSignal) => Promise<readonly CheckResult[]>;

export const liveChecks: readonly LiveCheck[] = [checkSiteKey, checkState, checkSpace];

/** An error as a result, with its own hint as what to do. */
export function failed(check: string, error: unknown, who: Doer): CheckResult {
  if (!(error instanceof ConnectorError)) throw error;
  return { check, state: 'fail', found: error.message, todo: error.hint, who };
}

async function checkSiteKey(config: Config): Promise<CheckResult[]> {
  const check = 'site key';
  try {
    readSiteKey(secretFile(config.keys.site, process.env));
    return [{ check, state: 'ok', found: 'readable, by its owner only' }];
  } catch (error) {
    return [failed(check, error, 'hospital IT')];
  }
}

async function checkState({ state }: Config): Promise<CheckResult[]> {
  const check = 'state folder';
  const todo = `Make ${state} a folder of the service user with mode 0700; \`kakehashi init\` does.`;
  try {
    const { mode } = statSync(state);
    if ((mode & 0o077) === 0) return [{ check, state: 'ok', found: state }];
    const found = `${state} has mode ${(mode & 0o777).toString(8)}, not 700`;
    return [{ check, state: 'fail', found, todo, who: 'hospital IT' }];
  } catch (error) {
    return [{ check, state: 'fail', found: `${state}: ${reasonOf(error)}`, todo, who: 'hospital IT' }];
  }
}

async function checkSpace({ state, limits }: Config): Promise<CheckResult[]> {
  const check = 'disk space';
  try {
    const { freeBytes } = await freeSpace(state);
    const found = `${Math.floor(freeBytes / 2 ** 20)} MiB free`;
    if (freeBytes > limits.freeBytesMin) return [{ check, state: 'ok', found }];
    const todo = `Free space on the disk of ${state}: below limits.freeBytesMin nothing more is taken.`;
    return [{ check, state: 'fail', found, todo, who: 'hospital IT' }];
  } catch (error) {
    return [
      {
        check,
        state: 'fail',
        found: `${state}: ${reasonOf(error)}`,
        todo: 'See the state folder above.',
        who: 'hospital IT',
      },
    ];
  }
}
