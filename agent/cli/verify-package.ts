import { constants, existsSync, readFileSync } from 'node:fs';
import { access } from 'node:fs/promises';
import {
  type MinisignKey,
  type MinisignSignature,
  parseMinisignKey,
  parseMinisignSignature,
  verifyMinisign,
} from '../base/minisign.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import { defineVerb } from './verb.ts';

/** Where minisign puts the signature of a file. */
const suffix = '.minisig';

export const verb = defineVerb({
  usage: 'FILE --key KEY',
  about:
    'Says whether FILE, a package that is about to be installed, is what was published: by the signature in\n' +
    'FILE.minisig and the public key that came another way, on paper. Nothing is asked of a network.\n' +
    'The same as `minisign -V -H -P KEY -m FILE`.',
  options: {
    key: { type: 'string', value: 'KEY', text: 'the public key, as it is printed (RW…) or in a file', required: true },
  },
  positionals: { min: 1, max: 1 },
  run: async ({ key: given }, [path = ''], { terminal }) => {
    const key = readKey(given);
    const signature = await readSignature(path);
    await refuseUnlessSigned(path, signature, key);
    const { trustedComment } = signature;
    terminal.result({ path, trustedComment });
    terminal.say(`${path} is what was published. / 正規のファイルです。`);
    terminal.say(`Signed with it: ${trustedComment}`);
    return 0;
  },
});

function readKey(given: string): MinisignKey {
  const key = parseMinisignKey(existsSync(given) ? readText(given) : given);
  if (key) return key;
  throw new ConnectorError('USAGE', {
    problem: `--key ${given} is neither a minisign public key nor a file with one.`,
  });
}

async function readSignature(path: string): Promise<MinisignSignature> {
  try {
    await access(path, constants.R_OK);
  } catch (cause) {
    throw new ConnectorError('FILE_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
  }
  const signature = parseMinisignSignature(readText(`${path}${suffix}`));
  if (signature) return signature;
  throw new ConnectorError('PACKAGE_REFUSED', { path, reason: `${path}${suffix} is not a whole minisign signature` });
}

async function refuseUnlessSigned(path: string, signature: MinisignSignature, key: MinisignKey): Promise<void> {
  if (await verifyMinisign(path, signature, key)) return;
  const isOtherKey = !signature.keyId.equals(key.id);
  const reason = isOtherKey ? 'it is signed with another key' : 'the signature does not belong to these bytes';
  throw new ConnectorError('PACKAGE_REFUSED', { path, reason });
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new ConnectorError('FILE_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
  }
}
