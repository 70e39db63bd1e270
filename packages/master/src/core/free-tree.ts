import { assert, SeededRandom } from '@tsukimi/base';

/** What a node of the tree carries besides its own fields. */
export interface TreeLinks<N> {
  readonly offset: number;
  readonly byteCount: number;
  smaller: N | null;
  larger: N | null;
  priority: number;
}

/**
 * Free runs ordered by length, then address: a treap (Seidel and Aragon, 1996), balanced by priorities
 * from a fixed sequence, so that the same calls always build the same tree.
 */
export class FreeTree<N extends TreeLinks<N>> {
  #root: N | null = null;
  readonly #priorities = new SeededRandom(1);

  insert(node: N): void {
    node.priority = this.#priorities.uint32();
    this.#root = insertBelow(this.#root, node);
  }

  remove(node: N): void {
    let parent: N | null = null;
    let at = this.#root;
    while (at !== null && at !== node) {
      parent = at;
      at = isBefore(node, at) ? at.smaller : at.larger;
    }
    assert(at === node, 'a removed run is in the tree');
    const joined = join(node.smaller, node.larger);
    if (parent === null) this.#root = joined;
    else if (parent.smaller === node) parent.smaller = joined;
    else parent.larger = joined;
    node.smaller = null;
    node.larger = null;
  }

  /** The shortest run of at least `byteCount`, at the lowest address; null when all are shorter. */
  smallestOf(byteCount: number): N | null {
    let found: N | null = null;
    let at = this.#root;
    while (at !== null) {
      if (at.byteCount >= byteCount) {
        found = at;
        at = at.smaller;
      } else {
        at = at.larger;
      }
    }
    return found;
  }

  /** Walks the whole tree; gives the number of runs in it. */
  checkInvariants(): number {
    let count = 0;
    let last: N | null = null;
    const visit = (node: N | null): void => {
      if (node === null) return;
      visit(node.smaller);
      assert(last === null || isBefore(last, node), 'free runs are in order');
      for (const child of [node.smaller, node.larger]) {
        assert(child === null || child.priority <= node.priority, 'the free tree is a heap');
      }
      last = node;
      count += 1;
      visit(node.larger);
    };
    visit(this.#root);
    return count;
  }
}

function isBefore<N extends TreeLinks<N>>(one: N, other: N): boolean {
  return one.byteCount === other.byteCount
    ? one.offset < other.offset
    : one.byteCount < other.byteCount;
}

function insertBelow<N extends TreeLinks<N>>(root: N | null, node: N): N {
  if (root === null) return node;
  if (node.priority > root.priority) {
    split(root, node);
    return node;
  }
  if (isBefore(node, root)) root.smaller = insertBelow(root.smaller, node);
  else root.larger = insertBelow(root.larger, node);
  return root;
}

/** Makes what is before `node` its smaller and what is after it its larger child. */
function split<N extends TreeLinks<N>>(root: N, node: N): void {
  let smaller: N | null = null;
  let larger: N | null = null;
  let smallerEdge: N | null = null;
  let largerEdge: N | null = null;
  let at: N | null = root;
  while (at !== null) {
    if (isBefore(at, node)) {
      if (smallerEdge === null) smaller = at;
      else smallerEdge.larger = at;
      smallerEdge = at;
      at = at.larger;
    } else {
      if (largerEdge === null) larger = at;
      else largerEdge.smaller = at;
      largerEdge = at;
      at = at.smaller;
    }
  }
  if (smallerEdge !== null) smallerEdge.larger = null;
  if (largerEdge !== null) largerEdge.smaller = null;
  node.smaller = smaller;
  node.larger = larger;
}

/** One tree of two, all of `smaller` before all of `larger`. */
function join<N extends TreeLinks<N>>(smaller: N | null, larger: N | null): N | null {
  if (smaller === null) return larger;
  if (larger === null) return smaller;
  if (smaller.priority >= larger.priority) {
    smaller.larger = join(smaller.larger, larger);
    return smaller;
  }
  larger.smaller = join(smaller, larger.smaller);
  return larger;
}
