import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { openStore } from '../app/open-store.ts';
import { acquireLock } from '../base/lock.ts';
import { systemClock } from '../base/clock.ts';
import { writeDurable } from '../base/files.ts';
import { secretFile } from '../base/secret.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { beginEpoch } from '../flow/epoch.ts';
import { recover } from '../flow/recover.ts';
import {
  copyBackup,
  recoverSiteKey,
  refuseOccupied,
  removeRestored,
  restoredDatabase,
  takeEffect,
} from '../flow/restore.ts';
import type { Store } from '../flow/store.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import { configOption, defineVerb, type VerbContext } from './verb.ts';

export const verb = defineVerb({
  usage: '--from DIR [--recovery-key FILE] [--config FILE]',
  about:
    'Puts a backup into an empty state folder, makes every stop true that was made since, and starts a new epoch, so that\n' +
    'producers refuse the old installation. Nothing is shipped until `kakehashi resume` or a newer register file says that\n' +
    'the restored state is to be believed.',
  options: {
    config: configOption,
    from: { type: 'string', value: 'DIR', text: "the backup's own folder, kakehashi-…", required: true },
    'recovery-key': {
      type: 'string',
      value: 'FILE',
      text: 'the printed recovery key in a file, when the site key is lost',
    },
  },
  positionals: { min: 0, max: 0 },
  run: async (values, _positionals, context) => {
    const config = loadConfig(values.config);
    refuseOccupied(config.state);
    const lock = acquireLock(config.state);
    try {
      const result = await restore(
        config,
        { from: resolve(values.from), recoveryKey: values['recovery-key'] },
        context,
      );
      context.terminal.result(result);
      context.terminal.say(
        `Restored as epoch ${result.epoch}; ${result.stops} stop(s) made since the backup are in force.`,
      );
      context.terminal.say(
        'Nothing is shipped until `kakehashi resume`, or a newer register file. / 再開の確認が済むまで送出しません。',
      );
      return 0;
    } finally {
      lock.release();
    }
  },
});

async function restore(
  config: Config,
  { from, recoveryKey }: { from: string; recoveryKey: string | undefined },
  { terminal }: VerbContext,
): Promise<{ epoch: number; stops: number }> {
  const bar = terminal.progress('restore', { unit: 'files' });
  try {
    await copyBackup(from, config.state, (done, total) => bar.update(done, total));
    if (recoveryKey !== undefined) await bringSiteKey(config, recoveryKey);
    return await begin(config);
  } catch (error) {
    await removeRestored(config.state);
    throw error;
  } finally {
    bar.stop();
  }
}

async function bringSiteKey(config: Config, recoveryKey: string): Promise<void> {
  const path = secretFile(config.keys.site, process.env);
  if (existsSync(path)) throw new ConnectorError('ALREADY_EXISTS', { path });
  const identity = await readFile(recoveryKey, 'utf8').catch((cause: unknown) => {
    throw new ConnectorError('FILE_UNREADABLE', { path: recoveryKey, reason: reasonOf(cause) }, { cause });
  });
  await writeDurable(path, await recoverSiteKey(join(config.state, 'recovery.age'), identity));
}

async function begin(config: Config): Promise<{ epoch: number; stops: number }> {
  const epoch = await withStore(config, { database: join(config.state, restoredDatabase) }, beginEpoch);
  await takeEffect(config.state);
  const { stops } = await withStore(config, {}, recover);
  return { epoch, stops };
}

async function withStore<T>(
  config: Config,
  options: { readonly database?: string },
  work: (store: Store) => T | Promise<T>,
): Promise<T> {
  const { store } = openStore(config, { clock: systemClock, report: () => undefined, ...options });
  try {
    return await work(store);
  } finally {
    store.db.close();
  }
}
