/**
 * Files of age keys, as `age-keygen` writes them: one a line, `#` begins a comment line, blank lines are ignored.
 */
import { Decrypter, Encrypter } from 'age-encryption';
import { ConnectorError } from '../model/errors.ts';

/** The producer's online key and its recovery key: losing one must not lose a night of a hospital's records. */
const recipientsMin = 2;
/** A header must stay readable by every age implementation; nobody needs more keys than this. */
const recipientsMax = 20;

/**
 * The recipients of a recipients file.
 *
 * @throws ConnectorError RECIPIENTS_INVALID with the line, never with what stands in it: it may be a secret key.
 */
export function parseRecipients(text: string): readonly string[] {
  const found = new Set<string>();
  for (const { line, key } of keyLines(text)) {
    if (key.startsWith('AGE-SECRET-KEY')) throw invalid(`line ${line} is a secret key, not a recipient`);
    if (!isRecipient(key)) throw invalid(`line ${line} is not an age recipient`);
    if (found.has(key)) throw invalid(`line ${line} repeats an earlier one`);
    found.add(key);
  }
  if (found.size < recipientsMin) throw invalid(`it has ${found.size} key(s), at least ${recipientsMin} are needed`);
  if (found.size > recipientsMax) throw invalid(`it has ${found.size} keys, at most ${recipientsMax} are allowed`);
  return [...found];
}

/**
 * The identities of an `age-keygen` file.
 *
 * @throws ConnectorError IDENTITIES_INVALID
 */
export function parseIdentities(text: string): readonly string[] {
  const found = keyLines(text).map(({ line, key }) => {
    if (!isIdentity(key))
      throw new ConnectorError('IDENTITIES_INVALID', { reason: `line ${line} is not an age identity` });
    return key;
  });
  if (found.length === 0) throw new ConnectorError('IDENTITIES_INVALID', { reason: 'it holds no identity' });
  return found;
}

function keyLines(text: string): { line: number; key: string }[] {
  return text
    .split('\n')
    .map((content, index) => ({ line: index + 1, key: content.trim() }))
    .filter(({ key }) => key !== '' && !key.startsWith('#'));
}

function isRecipient(key: string): boolean {
  return accepts(() => new Encrypter().addRecipient(key));
}

function isIdentity(key: string): boolean {
  return accepts(() => new Decrypter().addIdentity(key));
}

/** The package throws on a bad key, with the key in the message; only the fact is passed on. */
function accepts(attempt: () => void): boolean {
  try {
    attempt();
    return true;
  } catch {
    return false;
  }
}

function invalid(reason: string): ConnectorError {
  return new ConnectorError('RECIPIENTS_INVALID', { reason });
}
