/** Secrets stay outside the configuration, which names where each one is. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConnectorError, reasonOf } from '../model/errors.ts';

/** A file, a credential of systemd (`LoadCredential=`, `LoadCredentialEncrypted=`), or a variable of the environment. */
export type SecretRef = { readonly file: string } | { readonly credential: string } | { readonly env: string };

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The file behind a reference that has one.
 *
 * @throws ConnectorError KEY_UNREADABLE - a credential outside a service that was given one, or an `env`.
 */
export function secretFile(ref: SecretRef, env: Environment): string {
  if ('file' in ref) return ref.file;
  if ('env' in ref) throw unreadable(ref.env, 'it is a variable, and a file is needed');
  const folder = env['CREDENTIALS_DIRECTORY'];
  if (!folder) throw unreadable(ref.credential, 'systemd gave this process no credentials (CREDENTIALS_DIRECTORY)');
  return join(folder, ref.credential);
}

/**
 * The secret itself, without the line end an editor leaves behind.
 *
 * @throws ConnectorError KEY_UNREADABLE
 */
export function readSecret(ref: SecretRef, env: Environment): string {
  if ('env' in ref) {
    const value = env[ref.env];
    if (!value) throw unreadable(ref.env, 'the variable is not set');
    return value;
  }
  const path = secretFile(ref, env);
  try {
    return readFileSync(path, 'utf8').trimEnd();
  } catch (cause) {
    throw new ConnectorError('KEY_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
  }
}

function unreadable(name: string, reason: string): ConnectorError {
  return new ConnectorError('KEY_UNREADABLE', { path: name, reason });
}
