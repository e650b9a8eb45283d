/**
 * `init`: the first command on a new machine. Writes a commented configuration, the site key and the state folder, and
 * shows the hospital's recovery key, once: it is stored nowhere. What exists is never overwritten.
 */
import { chmodSync, existsSync, mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { writeDurableSync } from '../base/files.ts';
import { createSiteKey } from '../base/keys.ts';
import type { SecretRef } from '../base/secret.ts';
import { parseConfig } from '../config/load.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import { initialConfig } from './init/initial-config.ts';
import { configOption, defineVerb, type VerbContext } from './verb.ts';

interface Places {
  readonly config: string;
  readonly state: string;
  readonly siteKey: string;
  readonly recovery: string;
}

export const verb = defineVerb({
  usage: '[--config FILE] [--state DIR] [--facility CODE] [--name NAME] [--yes]',
  about:
    'Writes the configuration, the site key beside it and the state folder, and shows the recovery key once.\n' +
    'Print the recovery key and lock it away: without it, a lost machine is a lost record of provision.',
  options: {
    config: configOption,
    state: { type: 'string', value: 'DIR', text: 'the state folder', default: '/var/lib/kakehashi' },
    facility: { type: 'string', value: 'CODE', text: 'medical institution code, 10 digits' },
    name: { type: 'string', value: 'NAME', text: "the hospital's name" },
    yes: { type: 'boolean', text: 'ask nothing' },
  },
  positionals: { min: 0, max: 0 },
  run: async ({ config, state, facility, name, yes }, _positionals, context) => {
    const ask = yes ? undefined : context.ask;
    const places = placesOf(config, state);
    refuseExisting(places);
    const code = facility ?? (await answer(ask, 'facility', 'Medical institution code, 10 digits (医療機関コード): '));
    const hospital = name ?? (await answer(ask, 'name', "The hospital's name (医療機関名): "));
    const { identity, recipient } = await newRecoveryKey();
    const siteKey = siteKeyRef(places.siteKey, context.env);
    const text = initialConfig({ code, name: hospital, state: places.state, siteKey, recipient });
    parseConfig(text, places.config);
    if (ask && !(await confirmed(ask, places))) return 1;
    await write(places, text, recipient);
    tell(context, places, { identity, recipient });
    return 0;
  },
});

function placesOf(config: string, state: string): Places {
  const file = resolve(config);
  const folder = resolve(state);
  return {
    config: file,
    state: folder,
    siteKey: join(dirname(file), 'site.key'),
    recovery: join(folder, 'recovery.age'),
  };
}

/** Where credentials lie beside the configuration, as on an installed system, the service is handed the key by systemd. */
function siteKeyRef(path: string, env: VerbContext['env']): SecretRef {
  return env['CREDENTIALS_DIRECTORY'] === dirname(path) ? { credential: basename(path) } : { file: path };
}

/** A state folder that already holds a database belongs to somebody, with another site key. */
function refuseExisting({ config, siteKey, recovery, state }: Places): void {
  const existing = [config, siteKey, recovery, join(state, 'lock.sqlite')].find((path) => existsSync(path));
  if (existing !== undefined) throw new ConnectorError('ALREADY_EXISTS', { path: existing });
}

async function answer(ask: VerbContext['ask'], option: string, question: string): Promise<string> {
  if (!ask) throw new ConnectorError('USAGE', { problem: `--${option} is missing.` });
  return (await ask(question)).trim();
}

async function confirmed(ask: NonNullable<VerbContext['ask']>, { config, siteKey, state }: Places): Promise<boolean> {
  const reply = await ask(`Write ${config}, ${siteKey} and ${state}? [y/N] `);
  return /^y(es)?$/i.test(reply.trim());
}

async function newRecoveryKey(): Promise<{ identity: string; recipient: string }> {
  const { generateX25519Identity, identityToRecipient } = await import('age-encryption');
  const identity = await generateX25519Identity();
  return { identity, recipient: await identityToRecipient(identity) };
}

/** All of it, or nothing: half an installation would make the next `init` refuse. The configuration is last. */
async function write(places: Places, text: string, recipient: string): Promise<void> {
  try {
    mkdirSync(places.state, { recursive: true, mode: 0o700 });
    chmodSync(places.state, 0o700);
    const siteKey = createSiteKey(places.siteKey);
    writeDurableSync(places.recovery, await encryptedTo(recipient, `${siteKey.toString('base64')}\n`));
    writeDurableSync(places.config, Buffer.from(text));
  } catch (error) {
    await Promise.allSettled([places.siteKey, places.recovery, places.config].map((path) => rm(path, { force: true })));
    throw unwritable(error, dirname(places.config));
  }
}

/** Also what the operating system said, with its path; a defect stays one. */
function unwritable(error: unknown, fallback: string): unknown {
  if (!(error instanceof Error && 'syscall' in error)) return error;
  const path = 'path' in error && typeof error.path === 'string' ? error.path : fallback;
  return new ConnectorError('FILE_UNWRITABLE', { path, reason: reasonOf(error) }, { cause: error });
}

/** The key file as it is, so that `age -d -i printed-key recovery.age > site.key` brings it back. */
async function encryptedTo(recipient: string, text: string): Promise<Uint8Array> {
  const { Encrypter } = await import('age-encryption');
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  return encrypter.encrypt(text);
}

function tell({ terminal }: VerbContext, places: Places, key: { identity: string; recipient: string }): void {
  for (const line of [
    `Configuration  ${places.config}`,
    `Site key       ${places.siteKey}`,
    `State          ${places.state}`,
    '',
    'RECOVERY KEY: print it, lock it away, keep no copy on this machine. It is shown only now.',
    '復旧鍵：印刷して金庫等に保管してください。この端末には保存されず、二度と表示されません。',
    '',
    `  ${key.identity}`,
    '',
    `Next: name your sources in the configuration, then \`kakehashi check --config ${places.config}\`.`,
  ]) {
    terminal.say(line);
  }
  terminal.result({ ...places, recoveryKey: key.identity, recipient: key.recipient });
}
