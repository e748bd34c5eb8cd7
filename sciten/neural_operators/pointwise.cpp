// What a Fourier block computes at every point of a grid, forward and backward, in one walk over the points; see
// pointwise.py, which says how many channels there are (the N_ and the other capitals below) and compiles this.
//
// Points are taken in tiles of eight rows, which stay in the first cache until they are done. The intermediate results
// of the forward pass are computed a second time in the backward pass: that takes less time than to write and to read
// them, and no memory. Channels are padded to whole vectors by zeros, which add nothing to any sum.

#include <algorithm>
#include <cstring>
#include <vector>

namespace {

// As many columns of a tile at a time as, with eight rows, fit into the registers.
#if defined(__AVX512F__)
constexpr int LANES = 16, COLUMNS = 2;
#elif defined(__AVX__)
constexpr int LANES = 8, COLUMNS = 1;
#else
constexpr int LANES = 4, COLUMNS = 2;
#endif
constexpr int ROWS = 8;
// However many threads there are, sums over points are made of so many, and so are always the same.
constexpr long PARTS = 64;
#define UNROLLED _Pragma("GCC unroll 8")

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int Integers __attribute__((vector_size(4 * LANES)));

constexpr int padded(int n) { return (n + LANES - 1) / LANES * LANES; }
template <int N> using Tile = float[ROWS][padded(N)];

inline Vector load(const float* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

inline void store(float* to, Vector vector) { std::memcpy(to, &vector, sizeof vector); }

// Apply `f` to each vector of a tile: f(row, column).
template <int N, class F> inline void each(F f) {
  for (int r = 0; r < ROWS; ++r)
    for (int c = 0; c < padded(N); c += LANES) f(r, c);
}

// exp(x) for x <= 0: by a power of two and Taylor's series on [-log(2) / 2, log(2) / 2], error below 2e-7 of the value.
inline Vector exponential(Vector x) {
  x = x > -87.0f ? x : Vector{} - 87.0f;
  const Vector magic = Vector{} + 12582912.0f;  // 3 * 2^22: what is added to it is rounded to a whole number
  const Vector shifted = x * 1.44269504f + magic, whole = shifted - magic;
  const Vector rest = (x - whole * 0.693145752f) - whole * 1.42860677e-6f;  // log(2) in two parts, the first exact
  Vector sum = rest * (1.0f / 720) + 1.0f / 120;
  sum = sum * rest + 1.0f / 24;
  sum = sum * rest + 1.0f / 6;
  sum = sum * rest + 0.5f;
  sum = sum * rest + 1.0f;
  sum = sum * rest + 1.0f;
  Integers bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + (127 << 23);
  Vector power;
  std::memcpy(&power, &bits, sizeof power);
  return sum * power;
}

// The normal distribution and its density. Beyond |x| the distribution is exp(-x^2 / 2) times a polynomial in
// 1 / (1 + 0.28 |x|), which is the form of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.17, here with
// six coefficients, fitted to an absolute error below 1.2e-8.
inline void normal(Vector x, Vector& distribution, Vector& density) {
  const Vector bell = exponential(x * x * -0.5f), size = x < 0.0f ? -x : x;
  const Vector t = 1.0f / (size * 0.28f + 1.0f);
  Vector tail = t * -0.106328574f + 0.392067266f;
  tail = tail * t - 0.240670111f;
  tail = tail * t + 0.271973070f;
  tail = tail * t + 0.0662291393f;
  tail = tail * t + 0.116729200f;
  tail = tail * t * bell;
  distribution = x < 0.0f ? tail : 1.0f - tail;
  density = bell * 0.398942280f;
}

template <int N> inline void gelu(const Tile<N>& x, Tile<N>& value) {
  each<N>([&](int r, int c) {
    const Vector v = load(&x[r][c]);
    Vector distribution, density;
    normal(v, distribution, density);
    store(&value[r][c], v * distribution);
  });
}

template <int N> inline void gelu(const Tile<N>& x, Tile<N>& value, Tile<N>& slope) {
  each<N>([&](int r, int c) {
    const Vector v = load(&x[r][c]);
    Vector distribution, density;
    normal(v, distribution, density);
    store(&value[r][c], v * distribution);
    store(&slope[r][c], distribution + v * density);
  });
}

template <int K, int N, int B> inline void add_columns(const Tile<K>& a, const float* w, Tile<N>& c, int j) {
  Vector sum[ROWS][B];
  UNROLLED for (int r = 0; r < ROWS; ++r)
    UNROLLED for (int b = 0; b < B; ++b) sum[r][b] = load(&c[r][j + b * LANES]);
  for (int k = 0; k < K; ++k) {
    Vector row[B];
    UNROLLED for (int b = 0; b < B; ++b) row[b] = load(w + k * padded(N) + j + b * LANES);
    UNROLLED for (int r = 0; r < ROWS; ++r)
      UNROLLED for (int b = 0; b < B; ++b) sum[r][b] += row[b] * a[r][k];
  }
  UNROLLED for (int r = 0; r < ROWS; ++r)
    UNROLLED for (int b = 0; b < B; ++b) store(&c[r][j + b * LANES], sum[r][b]);
}

// c += a w
template <int K, int N> inline void add_product(const Tile<K>& a, const float* w, Tile<N>& c) {
  constexpr int step = COLUMNS * LANES, whole = padded(N) / step * step;
  for (int j = 0; j < whole; j += step) add_columns<K, N, COLUMNS>(a, w, c, j);
  if constexpr (whole < padded(N)) add_columns<K, N, 1>(a, w, c, whole);
}

template <int K, int N, int B> inline void add_outer_columns(const Tile<K>& a, const Tile<N>& c, float* w, int j) {
  Vector column[ROWS][B];
  UNROLLED for (int r = 0; r < ROWS; ++r)
    UNROLLED for (int b = 0; b < B; ++b) column[r][b] = load(&c[r][j + b * LANES]);
  for (int k = 0; k < K; ++k) {
    float* row = w + k * padded(N) + j;
    Vector sum[B];
    UNROLLED for (int b = 0; b < B; ++b) sum[b] = load(row + b * LANES);
    UNROLLED for (int r = 0; r < ROWS; ++r)
      UNROLLED for (int b = 0; b < B; ++b) sum[b] += column[r][b] * a[r][k];
    UNROLLED for (int b = 0; b < B; ++b) store(row + b * LANES, sum[b]);
  }
}

// w += a^T c, the gradient of the weight of `add_product`
template <int K, int N> inline void add_outer(const Tile<K>& a, const Tile<N>& c, float* w) {
  constexpr int step = COLUMNS * LANES, whole = padded(N) / step * step;
  for (int j = 0; j < whole; j += step) add_outer_columns<K, N, COLUMNS>(a, c, w, j);
  if constexpr (whole < padded(N)) add_outer_columns<K, N, 1>(a, c, w, whole);
}

template <int N> inline void add_rows(const Tile<N>& tile, float* sum) {
  each<N>([&](int r, int c) { store(sum + c, load(sum + c) + load(&tile[r][c])); });
}

template <int N> inline void multiply(Tile<N>& tile, const Tile<N>& other) {
  each<N>([&](int r, int c) { store(&tile[r][c], load(&tile[r][c]) * load(&other[r][c])); });
}

template <int N> inline void fill(Tile<N>& tile, const float* row) {
  each<N>([&](int r, int c) { store(&tile[r][c], load(row + c)); });
}

template <int N> inline void clear(Tile<N>& tile) { std::memset(tile, 0, sizeof tile); }

template <int N> inline void read(Tile<N>& tile, const float* from, int rows) {
  if (N != padded(N) || rows < ROWS) clear<N>(tile);
  for (int r = 0; r < rows; ++r) std::memcpy(tile[r], from + r * N, N * sizeof(float));
}

template <int N> inline void write(const Tile<N>& tile, float* to, int rows) {
  for (int r = 0; r < rows; ++r) std::memcpy(to + r * N, tile[r], N * sizeof(float));
}

// A weight [k, n] with its rows padded.
std::vector<float> packed(const float* w, int k, int n) {
  std::vector<float> to(k * padded(n), 0.0f);
  for (int i = 0; i < k; ++i) std::copy(w + i * n, w + (i + 1) * n, to.data() + i * padded(n));
  return to;
}

// The transpose of a weight [k, n] with its rows padded.
std::vector<float> transposed(const float* w, int k, int n) {
  std::vector<float> to(n * padded(k), 0.0f);
  for (int i = 0; i < k; ++i)
    for (int j = 0; j < n; ++j) to[j * padded(k) + i] = w[i * n + j];
  return to;
}

// As in pointwise.py.
enum class Skip { none, identity, soft_gating, linear };

// A skip connection of C channels.
template <Skip KIND, int C> struct Connection {
  static constexpr int ROWS_OF_WEIGHT = KIND == Skip::linear ? C : KIND == Skip::soft_gating ? 1 : 0;
  const std::vector<float> weight, back;

  explicit Connection(const float* w)
      : weight(packed(w, ROWS_OF_WEIGHT, C)), back(transposed(w, KIND == Skip::linear ? C : 0, C)) {}

  // onto += this(x)
  void forward(const Tile<C>& x, Tile<C>& onto) const { pass(x, weight, onto); }

  // Of the gradient d of the result: dx += that of x.
  void backward(const Tile<C>& d, Tile<C>& dx) const { pass(d, back, dx); }

  // dw += the gradient of the weight.
  static void add_weight(const Tile<C>& x, const Tile<C>& d, float* dw) {
    if constexpr (KIND == Skip::linear) add_outer<C, C>(x, d, dw);
    if constexpr (KIND == Skip::soft_gating)
      each<C>([&](int r, int c) { store(dw + c, load(dw + c) + load(&x[r][c]) * load(&d[r][c])); });
  }

 private:
  void pass(const Tile<C>& from, const std::vector<float>& matrix, Tile<C>& onto) const {
    if constexpr (KIND == Skip::linear) add_product<C, C>(from, matrix.data(), onto);
    if constexpr (KIND == Skip::identity || KIND == Skip::soft_gating)
      each<C>([&](int r, int c) {
        const Vector factor = KIND == Skip::soft_gating ? load(weight.data() + c) : Vector{} + 1.0f;
        store(&onto[r][c], load(&onto[r][c]) + load(&from[r][c]) * factor);
      });
  }
};

// The weights, in the order of pointwise.py: those that are not there are null.
template <int I, int H, int O, Skip FIRST, Skip SECOND> struct Weights {
  const Connection<FIRST, I> skip;
  const std::vector<float> bias, w1, b1, w2;
  const Connection<SECOND, O> mlp_skip;
  const std::vector<float> b2;

  explicit Weights(const float* const* w)
      : skip(w[0]), bias(packed(w[1], w[1] ? 1 : 0, I)), w1(packed(w[2], I, H)), b1(packed(w[3], 1, H)),
        w2(packed(w[4], H, O)), mlp_skip(w[5]), b2(packed(w[6], 1, O)) {}

  // What the first GELU is taken of.
  template <bool BIASED> void begin(const Tile<O>& x, Tile<I>& u) const {
    if constexpr (BIASED) each<I>([&](int r, int c) { store(&u[r][c], load(&u[r][c]) + load(bias.data() + c)); });
    if constexpr (FIRST != Skip::none) skip.forward(x, u);
  }

  // What the last one is taken of.
  void end(const Tile<H>& hidden, const Tile<O>& x, Tile<O>& result) const {
    fill<O>(result, b2.data());
    mlp_skip.forward(x, result);
    add_product<H, O>(hidden, w2.data(), result);
  }
};

template <int I, int H, int O, Skip FIRST, Skip SECOND, bool BIASED, bool ACTIVATED>
void run_forward(long points, long threads, const float* u, const float* x, const float* const* w, float* result) {
  constexpr bool skips = FIRST != Skip::none || SECOND != Skip::none;
  const Weights<I, H, O, FIRST, SECOND> weights(w);
  const long tiles = (points + ROWS - 1) / ROWS;
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (long tile = 0; tile < tiles; ++tile) {
    const long first = tile * ROWS;
    const int rows = (int)std::min<long>(ROWS, points - first);
    alignas(64) Tile<I> s, f;
    alignas(64) Tile<H> h, g;
    alignas(64) Tile<O> passed, t, y;
    read<I>(s, u + first * I, rows);
    if constexpr (skips) read<O>(passed, x + first * O, rows);
    weights.template begin<BIASED>(passed, s);
    if constexpr (ACTIVATED) gelu<I>(s, f);
    const Tile<I>& taken = ACTIVATED ? f : s;
    fill<H>(h, weights.b1.data());
    add_product<I, H>(taken, weights.w1.data(), h);
    gelu<H>(h, g);
    weights.end(g, passed, t);
    if constexpr (ACTIVATED) gelu<O>(t, y);
    write<O>(ACTIVATED ? y : t, result + first * O, rows);
  }
}

template <int I, int H, int O, Skip FIRST, Skip SECOND, bool BIASED, bool ACTIVATED>
void run_backward(long points, long threads, const float* u, const float* x, const float* const* w,
                  const float* dresult, float* du, float* dx, float* const* dw) {
  constexpr bool skips = FIRST != Skip::none || SECOND != Skip::none;
  const Weights<I, H, O, FIRST, SECOND> weights(w);
  const auto w1_back = transposed(w[2], I, H), w2_back = transposed(w[4], H, O);
  // Rows and columns of the gradients of the weights.
  const int shapes[7][2] = {{Connection<FIRST, I>::ROWS_OF_WEIGHT, I}, {1, I}, {I, H}, {1, H}, {H, O},
                            {Connection<SECOND, O>::ROWS_OF_WEIGHT, O}, {1, O}};
  long starts[8] = {0};
  for (int i = 0; i < 7; ++i) starts[i + 1] = starts[i] + shapes[i][0] * padded(shapes[i][1]);
  const bool needs_ds = du || dx || dw[0] || dw[1];
  const long tiles = (points + ROWS - 1) / ROWS, parts = std::max(1L, std::min(PARTS, tiles));
  std::vector<float> gradients(parts * starts[7], 0.0f);
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (long part = 0; part < parts; ++part) {
    float* dweights[7];
    for (int i = 0; i < 7; ++i) dweights[i] = gradients.data() + part * starts[7] + starts[i];
    for (long tile = tiles * part / parts; tile < tiles * (part + 1) / parts; ++tile) {
      const long first = tile * ROWS;
      const int rows = (int)std::min<long>(ROWS, points - first);
      alignas(64) Tile<I> s, f, df, ds;
      alignas(64) Tile<H> h, g, dg, dh;
      alignas(64) Tile<O> passed, t, y, dy, d, dpassed;
      read<I>(s, u + first * I, rows);
      if constexpr (skips) read<O>(passed, x + first * O, rows);
      weights.template begin<BIASED>(passed, s);
      read<O>(d, dresult + first * O, rows);
      if constexpr (ACTIVATED) gelu<I>(s, f, df);
      const Tile<I>& taken = ACTIVATED ? f : s;
      fill<H>(h, weights.b1.data());
      add_product<I, H>(taken, weights.w1.data(), h);
      gelu<H>(h, g, dg);
      if constexpr (ACTIVATED) {
        weights.end(g, passed, t);
        gelu<O>(t, y, dy);
        multiply<O>(d, dy);
      }
      clear<H>(dh);
      add_product<O, H>(d, w2_back.data(), dh);
      multiply<H>(dh, dg);
      if (dw[4]) add_outer<H, O>(g, d, dweights[4]);
      if (dw[6]) add_rows<O>(d, dweights[6]);
      if (dw[2]) add_outer<I, H>(taken, dh, dweights[2]);
      if (dw[3]) add_rows<H>(dh, dweights[3]);
      if (dw[5]) Connection<SECOND, O>::add_weight(passed, d, dweights[5]);
      if (needs_ds) {
        clear<I>(ds);
        add_product<H, I>(dh, w1_back.data(), ds);
        if constexpr (ACTIVATED) multiply<I>(ds, df);
        if (du) write<I>(ds, du + first * I, rows);
        if (dw[1]) add_rows<I>(ds, dweights[1]);
      }
      if constexpr (FIRST != Skip::none)
        if (dw[0]) Connection<FIRST, I>::add_weight(passed, ds, dweights[0]);
      if (!dx) continue;
      clear<O>(dpassed);
      weights.mlp_skip.backward(d, dpassed);
      if constexpr (FIRST != Skip::none) weights.skip.backward(ds, dpassed);
      write<O>(dpassed, dx + first * O, rows);
    }
  }
  for (long part = 1; part < parts; ++part)
    for (long k = 0; k < starts[7]; ++k) gradients[k] += gradients[part * starts[7] + k];
  for (int i = 0; i < 7; ++i)
    for (int k = 0; dw[i] && k < shapes[i][0]; ++k) {
      const float* row = gradients.data() + starts[i] + k * padded(shapes[i][1]);
      std::copy(row, row + shapes[i][1], dw[i] + k * shapes[i][1]);
    }
}

}  // namespace

#define CONSTANTS N_INPUTS, N_HIDDEN, N_OUTPUTS, SKIP, MLP_SKIP, bool(HAS_BIAS), bool(IS_ACTIVATED)

// All tensors are contiguous, [points, channels].
extern "C" void forward(long points, long threads, const float* u, const float* x, const float* const* w,
                        float* result) {
  run_forward<CONSTANTS>(points, threads, u, x, w, result);
}

// The gradients of u, x and the weights of that of the result; null where nobody needs them.
extern "C" void backward(long points, long threads, const float* u, const float* x, const float* const* w,
                         const float* dresult, float* du, float* dx, float* const* dw) {
  run_backward<CONSTANTS>(points, threads, u, x, w, dresult, du, dx, dw);
}
